"""Export to C: one header and one source file of C99, with the task around the network inside."""
