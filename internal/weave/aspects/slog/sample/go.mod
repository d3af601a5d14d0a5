module guanlan.example/slog

go 1.24
