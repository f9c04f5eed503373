"""An OpenVINO graph that computes the short requests of a loaded encoder."""
