// Command log prints by package log, in the ways programs do.
package main

import (
	"bytes"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
)

func main() {
	var out bytes.Buffer
	own := log.New(&out, "own: ", log.LstdFlags|log.Lshortfile|log.Lmsgprefix)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		log.Printf("order %d", 7)
		own.Println("two", "words")
		_ = own.Output(1, "with a depth")
		done := make(chan struct{})
		go func() {
			defer close(done)
			log.Print("of a goroutine")
		}()
		<-done
	}))
	defer srv.Close()
	log.SetOutput(&out)
	log.Print("before")
	if _, err := http.Get(srv.URL); err != nil {
		log.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		fmt.Print(line[strings.LastIndexByte(line[:20], ' ')+1:])
	}
	log.SetOutput(os.Stderr)
	log.Print("the end")
	os.Exit(0) // with what was recorded
}
