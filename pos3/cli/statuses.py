"""Defines the exit statuses. Scripts rely on them, so they must not change."""

OK = 0
FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130
STDOUT_CLOSED = 141
TERMINATED = 143

STATUS_HELP = f"""\
exit status:
  {OK:<3}  done
  {FAILED:<3}  failed, or 'ls' found nothing, or 'check', 'cache verify', 'doctor' or
       'profile check' found a problem; the reason is on stderr
  {WRONG_USAGE:<3}  wrong usage
  {INTERRUPTED:<3}  interrupted (SIGINT)
  {STDOUT_CLOSED:<3}  the program that read stdout has ended ('pos3 ls ... | head')
  {TERMINATED:<3}  terminated (SIGTERM)
"""
