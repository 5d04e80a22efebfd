/* Arm's MPS2 boards (AN386: Cortex-M4F, AN500: Cortex-M7), which QEMU emulates: start, serial port, clock. */
#include "board.h"

#ifndef CYCLES_PER_TICK
#define CYCLES_PER_TICK 1u
#endif
#define UART_DATA (*(volatile uint32_t *)0x40004000u)
#define UART_STATE (*(volatile uint32_t *)0x40004004u)
#define UART_CONTROL (*(volatile uint32_t *)0x40004008u)
#define UART_DIVISOR (*(volatile uint32_t *)0x40004010u)
#define SYSTICK_CONTROL (*(volatile uint32_t *)0xE000E010u)
#define SYSTICK_RELOAD (*(volatile uint32_t *)0xE000E014u)
#define SYSTICK_VALUE (*(volatile uint32_t *)0xE000E018u)
#define COPROCESSORS (*(volatile uint32_t *)0xE000ED88u)

extern uint32_t stack_top[], data_start[], data_end[], data_load[], bss_start[], bss_end[];
int main(void);

/* Lay out memory as C expects it, switch the floating-point unit on, and run the program. */
static void reset(void) {
    const uint32_t *from = data_load;
    uint32_t *to;
    COPROCESSORS |= 0xFu << 20;
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    for (to = data_start; to < data_end; ++to, ++from) {
        *to = *from;
    }
    for (to = bss_start; to < bss_end; ++to) {
        *to = 0;
    }
    board_end(main());
}

/* Say that something went wrong: a fault, or an interrupt that no one asked for. */
static void fault(void) {
    board_text("\nfault\n");
    board_end(1);
}

/* What the processor reads when it starts: the top of the stack, and where to go on each exception. */
__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    void (*handlers[15])(void);
} vectors = {stack_top, {reset, fault, fault, fault, fault, fault, 0, 0, 0, 0, fault, fault, 0, fault, fault}};

void board_begin(void) {
    UART_DIVISOR = 16;
    UART_CONTROL = 1;
    SYSTICK_RELOAD = 0xFFFFFFu;
    SYSTICK_VALUE = 0;
    SYSTICK_CONTROL = 5; /* the processor's clock, no interrupt */
}

void board_text(const char *text) {
    for (; *text; ++text) {
        while (UART_STATE & 1u) {
        }
        UART_DATA = (uint8_t)*text;
    }
}

void board_number(uint32_t number) {
    char digits[11];
    char *first = digits + 10;
    *first = 0;
    do {
        *--first = (char)('0' + number % 10);
    } while (number /= 10);
    board_text(first);
}

void board_word(uint32_t word) {
    char digits[9];
    int i;
    for (i = 0; i < 8; ++i) {
        digits[i] = "0123456789abcdef"[word >> (28 - 4 * i) & 15];
    }
    digits[8] = 0;
    board_text(digits);
}

uint32_t board_cycles(void) {
    static uint32_t last = 0xFFFFFFu;
    uint32_t now = SYSTICK_VALUE;
    uint32_t passed = (last - now) & 0xFFFFFFu;
    last = now;
    return passed * CYCLES_PER_TICK;
}

void board_end(int status) {
    register uint32_t operation __asm__("r0") = 0x18;                      /* semihosting: exit */
    register uint32_t reason __asm__("r1") = status ? 0x20023u : 0x20026u; /* run-time error, application exit */
    __asm__ volatile("bkpt 0xAB" : : "r"(operation), "r"(reason) : "memory");
    for (;;) {
    }
}
