"""Client memory: results of doses, attribution, calibration, baselines and the gate."""
