"""Extensions as README shows them, one file and one YAML each."""
