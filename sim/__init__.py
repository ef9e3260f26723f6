"""Everything between an artefact and a result: interpreter, RTL simulation and their comparison."""
