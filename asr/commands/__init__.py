"""A recogniser of a few commands from a list of words: no recordings needed.

In: phrases. Out: a bundle whose decoder knows exactly these, and refuses other speech.

phrases.py         reads the list
pronunciation.py   how the phrases sound: warnings before the work, words that sound alike
fillers.py         other speech, which is to be refused
corpus.py          many voices say all of it
settings.py        the recipe of the training
make.py            the whole way; read this page first
"""
