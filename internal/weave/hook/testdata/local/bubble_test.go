//go:build go1.25

package local

import (
	"testing"
	"testing/synctest"
	"time"
)

// In a bubble, all of it.
func TestBubble(t *testing.T) {
	run(8, func() {
		synctest.Test(t, func(t *testing.T) {
			want(t, "bubble", now(), 8)
			c, stop := make(chan int, 1), make(chan bool)
			got := make(chan int, 1)
			go func() {
				defer close(stop)
				<-time.After(time.Hour)
				want(t, "child after a timer", now(), 8)
				<-c
				got <- now()
			}()
			synctest.Wait()
			run(9, func() { c <- 1 })
			want(t, "after a channel", <-got, 0)
			<-stop
			want(t, "itself, by its answer", now(), 0)
			run(7, func() {
				time.AfterFunc(time.Hour, func() { got <- now() })
				want(t, "AfterFunc", <-got, 7)
			})
		})
	})
}
