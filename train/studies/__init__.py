"""Questions put to runs and finished networks: ablation, cross-validation, robustness, probes, ensembles.

Each study is one module with a command in `train.__main__`. No run depends on one.
"""
