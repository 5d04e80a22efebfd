/* The little that a program needs of a board: bytes out, a counter of time, and an end. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

/* Get the serial port and the counter ready. */
void board_begin(void);

/* Send a text over the serial port. */
void board_text(const char *text);

/* Send a number in decimal digits. */
void board_number(uint32_t number);

/* Send a word as 8 hexadecimal digits. */
void board_word(uint32_t word);

/* Return how many cycles passed since the last call, at most 2^24 ticks: of the processor, or instructions under an
 * emulator. */
uint32_t board_cycles(void);

/* End the program: under a debugger or an emulator with success (0) or failure, else stand still. */
void board_end(int status);

#endif
