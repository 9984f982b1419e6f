"""What `make sweep` and `make tune` are made of: grids, launchers, jobs, rankings, studies."""
