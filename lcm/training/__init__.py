"""Training one model: the loop and all that it needs. `train.Trainer` is the entrance."""
