module guanlan.example/http2

go 1.24

require golang.org/x/net v0.24.0

require golang.org/x/text v0.14.0 // indirect
