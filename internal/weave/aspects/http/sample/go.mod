module guanlan.example/http

go 1.24
