"""Version 1 of a package of our own."""

VERSION = 1
