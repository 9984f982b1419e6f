"""Textual entailment: does a premise entail, contradict or leave open a hypothesis?"""
