"""Node-side code: the load agent and the process sampler.

Runs inside any stack, so it uses the standard library and the stack's own client only, and Python 3.8 or later.
Nothing here imports from the rest of the package.
"""
