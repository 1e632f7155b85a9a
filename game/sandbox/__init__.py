"""Auditors in a process of their own: a fork server, a jail around each round, and the toolbox over a wire.

`warden` starts the fork server and its children, `zygote` is that server, `inmate` is what a child does, and
`serving` answers its calls. What keeps a child in is in `landlock`, `seccomp` and `limits`; `self_test` tries
to get out before the auditor's code is loaded.
"""
