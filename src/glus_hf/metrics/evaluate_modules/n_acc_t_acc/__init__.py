"""The `evaluate` module `n_acc_t_acc`."""
