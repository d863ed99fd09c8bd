"""The exit codes of every command.

==== =============================================================================================================
code meaning
==== =============================================================================================================
0    every run ended as ok, unsupported or unavailable (also if a budget left some for later), or the verb succeeded
1    a run failed, crashed, timed out or was invalid; a file could not be written; or a limit of `compare` is exceeded
2    an error in the command line or the configuration, or another reason why nothing was launched, or compared
130  interrupted by the user
==== =============================================================================================================
"""

from __future__ import annotations

OK, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130
