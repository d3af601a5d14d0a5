module local

go 1.24
