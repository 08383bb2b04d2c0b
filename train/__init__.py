"""Training, in rooms that import one way: `data` <- `architectures` <- `fit` <- `studies`.

`recipes/` holds what can be trained by name, `ablations/` the plans of studies; the commands are in
`commands/`.
"""
