module guanlan.example/log

go 1.24
