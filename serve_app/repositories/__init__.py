"""All SQL. A method's name is the question it answers; services open the transactions."""
