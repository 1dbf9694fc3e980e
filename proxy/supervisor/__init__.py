"""The parent process and its children.

supervisor.py: who runs, who is started again, in which order all end · process.py: the parent's side of one child ·
link.py: the child's side · listeners.py: the sockets that outlive the workers.
"""
