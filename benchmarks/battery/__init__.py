"""The battery: which layer solves which task, and what it needs for it.

Small tasks of memory, counting, recall and reading, each with a chance level and a mark from which
it counts as solved. Every layer sits in the same small model and is trained by the same rule.

    python -m benchmarks.battery quick     # a look at everything, under two minutes
    python -m benchmarks.battery claims    # the named pairs of layer and task, three seeds
    python -m benchmarks.battery all       # every layer on every task, one seed, resumable

It is run from the root of the checkout. What is compared in speed is in `throughtime.bench`.
"""
