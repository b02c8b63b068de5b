"""Environments: twins of Gymnasium's, a bandit, two of Sutton and Barto's, two language tasks.

A twin steps a whole `[S, N]` grid of environments at once (S seeds of an experiment, N
environments of each seed) and gives, for every environment of the grid, the same bytes as
Gymnasium's own: initial states, observations, rewards and both flags. It exists for speed alone,
and only where tests show that it is equal.

    batched.py       what the twins share: seeding, time limit, autoreset, saving
    cartpole.py      CartPole-v1
    acrobot.py       Acrobot-v1
    mountain_car.py  MountainCar-v0
    pendulum.py      Pendulum-v1
    bandit.py        BernoulliBandit-v0, whose means are given or drawn anew each episode
    dyna_maze.py     the maze of the Dyna example of Sutton and Barto
    random_walk.py   their random walk, whose values are known
    enumerable.py    a language so small that every text can be listed, with a gold reward
    grammar.py       short English texts written to a request, with a gold reward
    tokens.py        what the two languages share: names of token ids

The package imports gymnasium and numpy, never rlkit; rlkit finds it through the entry-point groups
`rlkit.native_envs`, `rlkit.environments` and `rlkit.token_tasks`.
"""
