"""The science: audio in, audio out. Knows nothing of schedulers, hydra or plots."""
