"""The packages: rlkit, and the folder envs/ as rlkit_envs."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["rlkit", "rlkit.*"]), "rlkit_envs"],
    package_dir={"rlkit_envs": "envs"},
)
