//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary plays a demo and its children, as this variable says.
const role = "DEMO_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "":
		os.Exit(m.Run())
	case "demo": // starts children that listen on the addresses given
		runtime.LockOSThread()
		procs := newProcesses(os.Args[1])
		var all []endpoint
		for i, addr := range os.Args[2:] {
			name := fmt.Sprint("child", i)
			if err := procs.start(name, append(os.Environ(), role+"=child"), os.Args[0], addr); err != nil {
				panic(err)
			}
			all = append(all, endpoint{name, addr})
		}
		if err := procs.listening(context.Background(), all, nil); err != nil {
			panic(err)
		}
		fmt.Println("ready")
		select {}
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		fallthrough
	case "child":
		if _, err := net.Listen("tcp", os.Args[1]); err != nil {
			panic(err)
		}
		time.Sleep(time.Minute)
	}
}

// addrs returns free addresses.
func addrs(t *testing.T, n int) []string {
	t.Helper()
	var list []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		list = append(list, l.Addr().String())
	}
	return list
}

// waitGone waits until nothing listens on addr.
func waitGone(t *testing.T, addr string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(time.Minute)
	for {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		conn.Close()
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("a child still listens on %s", addr)
		}
	}
}

func TestChildrenDieWithTheDemo(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ties a child's life to its parent's")
	}
	listen := addrs(t, 3)
	demo := exec.Command(os.Args[0], append([]string{t.TempDir()}, listen...)...)
	demo.Env = append(os.Environ(), role+"=demo")
	demo.Stderr = os.Stderr
	out, err := demo.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fscanln(out, new(string)); err != nil {
		t.Fatalf("demo is not ready: %v", err)
	}
	demo.Process.Kill()
	demo.Wait()
	for _, addr := range listen {
		waitGone(t, addr)
	}
}

func TestStopKillsWhoDoesNotListenWhenHurried(t *testing.T) {
	listen := addrs(t, 2)
	procs := newProcesses(t.TempDir())
	for i, r := range []string{"child", "stubborn"} {
		if err := procs.start(r, append(os.Environ(), role+"="+r), os.Args[0], listen[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := procs.listening(t.Context(), []endpoint{{"child", listen[0]}, {"stubborn", listen[1]}}, nil); err != nil {
		t.Fatal(err)
	}
	hurry := make(chan os.Signal, 1)
	hurry <- os.Interrupt
	began := time.Now()
	procs.stop(hurry)
	if took := time.Since(began); took > grace/2 {
		t.Errorf("took %s", took)
	}
	for _, addr := range listen {
		waitGone(t, addr)
	}
}

func TestChildThatEndsIsReportedWithItsLastLines(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	procs := newProcesses(t.TempDir())
	if err := procs.start("inventory", append(os.Environ(), role+"=child"), os.Args[0], taken.Addr().String()); err != nil {
		t.Fatal(err)
	}
	err = procs.listening(t.Context(), []endpoint{{"never", addrs(t, 1)[0]}}, nil)
	if err == nil || !strings.Contains(err.Error(), "inventory: exit status 2") || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("got %v", err)
	}
}

func TestPortsInUseAreNamed(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.Addr().String()
	err = free([]endpoint{{"gateway", addr}, {"GUANLAN_ENDPOINT", addr}, {"order", addrs(t, 1)[0]}})
	for _, want := range []string{addr + " (gateway)", addr + " (GUANLAN_ENDPOINT)", "-port"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	if err != nil && strings.Contains(err.Error(), "(order)") {
		t.Errorf("got %v, though order's port is free", err)
	}
}

func TestPrepareNeedsBinaries(t *testing.T) {
	d := demo{guanlan: filepath.Join(t.TempDir(), "guanlan"), shop: os.Args[0], data: t.TempDir()}
	if err := d.prepare(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
