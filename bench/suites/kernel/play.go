//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/guanlan-io/guanlan/bench/proc"
)

// play is what this program does as a process of its own, to be watched.
func play(args []string) error {
	switch args[0] {
	case "serve":
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		fmt.Println(l.Addr())
		answer := []byte(strings.Repeat("x", 200))
		go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(answer) }))
	case "open": // FILE RATE SECONDS, prints how many opens and what one took
		rate, err1 := strconv.Atoi(args[2])
		seconds, err2 := strconv.ParseFloat(args[3], 64)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		n, each := opens(args[1], rate, time.Duration(seconds*float64(time.Second)))
		fmt.Println(n, each.Nanoseconds())
		return nil
	case "fill": // waits to be put into its cgroup, then takes memory until it is killed
		if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
			return err
		}
		var held [][]byte
		for {
			b := make([]byte, 1<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			held = append(held, b)
		}
	case "burn": // RATIO of all CPUs
		ratio, err := strconv.ParseFloat(args[1], 64)
		if err != nil {
			return err
		}
		for range 2 {
			go burn(ratio)
		}
	default:
		return fmt.Errorf("play %q: there is no such role", args[0])
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// opens opens and closes a file, rate times a second (0: as fast as it can), for a
// while, and returns how much CPU one took.
func opens(file string, rate int, d time.Duration) (n int, each time.Duration) {
	const burst = 100
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	used := func() time.Duration {
		var u syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_THREAD, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	began, before := time.Now(), used()
	for time.Since(began) < d {
		for range burst {
			if fd, err := syscall.Open(file, syscall.O_RDONLY|syscall.O_CLOEXEC, 0); err == nil {
				_ = syscall.Close(fd)
			}
			n++
		}
		if rate > 0 {
			time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(rate))))
		}
	}
	return n, (used() - before) / time.Duration(n)
}

func burn(ratio float64) {
	const period = 10 * time.Millisecond
	x := 1
	for {
		began := time.Now()
		for time.Since(began) < time.Duration(ratio*float64(period)) {
			for range 1000 {
				x = x*1103515245 + 12345
			}
		}
		time.Sleep(period - time.Since(began))
	}
}

// role is a process of this program in a role.
type role struct {
	*exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	ended chan struct{}
}

func (s *run) begin(args ...string) (*role, error) { return begin(s.self, nil, args...) }

func begin(program string, env []string, args ...string) (*role, error) {
	cmd := exec.Command(program, append([]string{"play"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("begin %v: %w", args, err)
	}
	r := &role{cmd, in, bufio.NewReader(out), make(chan struct{})}
	started := make(chan error)
	go func() {
		// Pdeathsig fires when the thread ends that started the child.
		runtime.LockOSThread()
		defer close(r.ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_, _ = cmd.Process.Wait() // not Cmd.Wait, which closes what is still to be read
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("begin %v: %w", args, err)
	}
	return r, nil
}

func (r *role) end() {
	_ = r.in.Close()
	<-r.ended
}

// cpu is what the process has used so far, user and system.
func (r *role) cpu() time.Duration { return proc.CPU(r.Process.Pid) }

// client keeps connections to a server and asks over them.
type client struct {
	conns  [][]*conn // by worker
	failed atomic.Int64
	// quick has answers not parsed but counted, all to be as long as the first: for a load that
	// keeps a server busy which does little more itself.
	quick bool
}

type conn struct {
	net.Conn
	answers *bufio.Reader
	read    int // bytes, of all answers
	size    int // of one, once known
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read += n
	return n, err
}

// dial opens n connections that workers share out.
func dial(address string, n, workers int) (*client, error) {
	c := &client{conns: make([][]*conn, workers)}
	for i := range n {
		raw, err := net.Dial("tcp", address)
		if err != nil {
			c.close()
			return nil, fmt.Errorf("connect to the server: %w", err)
		}
		one := &conn{Conn: raw}
		one.answers = bufio.NewReaderSize(one, 1024)
		c.conns[i%workers] = append(c.conns[i%workers], one)
	}
	return c, nil
}

func (c *client) close() {
	for _, of := range c.conns {
		for _, conn := range of {
			_ = conn.Close()
		}
	}
}

// product is the path of the requests that are measured.
const product = "/products/42"

func question(path string) []byte { return []byte("GET " + path + " HTTP/1.1\r\nHost: bench\r\n\r\n") }

func (c *conn) ask(question []byte, quick bool) error {
	if _, err := c.Write(question); err != nil {
		return err
	}
	if quick && c.size > 0 {
		_, err := c.answers.Discard(c.size)
		return err
	}
	before := c.read
	answer, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	c.size = c.read - before
	return err
}

// ask asks for a while, rate times a second over all connections (0: as fast as
// answers come), and returns how often it was answered.
func (c *client) ask(ctx context.Context, rate int, d time.Duration) int {
	return c.askFor(ctx, product, rate, d)
}

func (c *client) askFor(ctx context.Context, path string, rate int, d time.Duration) int {
	var done atomic.Int64
	text := question(path)
	var all sync.WaitGroup
	began := time.Now()
	for w, conns := range c.conns {
		all.Go(func() {
			for i := 0; time.Since(began) < d && ctx.Err() == nil; i++ {
				if rate > 0 {
					due := began.Add(time.Duration(i*len(c.conns)+w) * time.Second / time.Duration(rate))
					time.Sleep(time.Until(due))
				}
				if err := conns[i%len(conns)].ask(text, c.quick); err != nil {
					c.failed.Add(1)
					return
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	return int(done.Load())
}
