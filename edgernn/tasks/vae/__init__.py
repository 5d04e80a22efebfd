"""The VAE task: pictures from a latent, drawn by a recurrent decoder. `VaeTask` in `task.py` joins its parts."""
