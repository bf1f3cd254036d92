"""Version 2 of a package of our own."""

VERSION = 2
