"""The launcher `hydra/launcher=slurm_sweep`, where hydra looks for plugins: in the namespace `hydra_plugins` alone."""
