"""The GAN task: series from noise, by a recurrent generator. `GanTask` in `task.py` joins its parts."""
