"""Version 3 of a package of our own."""

VERSION = 3
