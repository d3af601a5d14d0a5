module example.com/shop

go 1.25.0

require github.com/alitto/pond/v2 v2.7.1
