module example.com/shop

go 1.25.0

require github.com/labstack/echo/v5 v5.0.0

require golang.org/x/time v0.14.0 // indirect
