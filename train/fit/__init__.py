"""One run: a recipe, its tasks and goals, augmentation, distillation, the loop, the checkpoint with its card.

A new task or goal goes into `tasks`; a new key of a recipe into `recipe`. Networks come from `train.architectures`,
faces from `train.data`.
"""
