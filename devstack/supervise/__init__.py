"""Processes and their lives: started, kept running, ended in order, one owner per checkout."""
