"""What to run: scenario files, their checks, the bundled ones, and running them.

schema      the scenario and its checks, of the sections in `sections`, of the values in `values`
files       where scenario files are found; the bundled ones are in the folder library
mistakes    whatever is wrong with a scenario as one line that names the key
build       from a scenario to the ensemble, the attention laws and the save times
run         the run, written to a trajectory file while it goes
trajectory  a trajectory that knows its scenario
"""
