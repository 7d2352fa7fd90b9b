"""The process that runs files where they are to run, here or on another device.

It needs the standard library, NumPy and the runtime of the files, and Python 3.8. Whoever asks it
sends one message a command and waits for one message as the answer (`edgekit.agent.wire`):
`edgekit.agent.supervisor` says what it is asked.
"""
