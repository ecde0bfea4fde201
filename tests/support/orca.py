"""Orca's own place for what its user wants otherwise. It speaks to its standard output, a line for each utterance, and reads no page by itself."""

import sys
from types import SimpleNamespace

import orca.settings
from orca import speechserver


class Server(speechserver.SpeechServer):
    @staticmethod
    def getSpeechServer(info=None):
        return Server()

    @staticmethod
    def getSpeechServers():
        return [Server()]

    def speak(self, text=None, acss=None, interrupt=True):
        if text:
            print(" ".join(text.split()), file=sys.__stdout__, flush=True)


# In place of the one that needs a loudspeaker.
sys.modules["orca.speechdispatcherfactory"] = SimpleNamespace(SpeechServer=Server)
orca.settings.sayAllOnLoad = False
orca.settings.pageSummaryOnLoad = False
orca.settings.enableKeyEcho = False
