//go:build linux

// The init of a guest of package vm: it mounts what Linux distributions mount,
// runs the tasks of the plan, and switches the machine off. Linked with another
// name it stands in for one of the few programs that tests run.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/kernel/vm"
)

// is names the program that this one stands in for; the linker sets it.
var is string

func main() {
	if is != "" {
		os.Exit(standIn(is, os.Args[1:]))
	}
	if err := boot(); err != nil {
		fmt.Print(vm.Say(vm.VerbFail, err.Error()))
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func boot() error {
	text, err := os.ReadFile(vm.PlanFile)
	if err != nil {
		return err
	}
	var p vm.Plan
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	if err := mount(&p); err != nil {
		return err
	}
	for to, target := range p.Links {
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.Symlink(target, to)); err != nil {
			return err
		}
	}
	for _, name := range p.Modules {
		if err := load(name); err != nil {
			return fmt.Errorf("load module %s: %w", filepath.Base(name), err)
		}
	}
	if err := raiseLoopback(); err != nil {
		return fmt.Errorf("raise lo: %w", err)
	}
	// What the kernel has to say to a healthy machine would end up within the
	// tests' output; an oops raises the level by itself.
	const consoleLevel = 8 // SYSLOG_ACTION_CONSOLE_LEVEL
	_, _, _ = unix.Syscall(unix.SYS_SYSLOG, consoleLevel, 0, 1)
	var u unix.Utsname
	_ = unix.Uname(&u)
	fmt.Print(vm.Say(vm.VerbReady, unix.ByteSliceToString(u.Release[:])))
	for _, t := range p.Tasks {
		fmt.Print(vm.Say(vm.VerbBegin, t.Name))
		fmt.Print(vm.Say(vm.VerbExit, t.Name, strconv.Itoa(run(t))))
	}
	fmt.Print(vm.Say(vm.VerbFinish))
	return nil
}

// patience is how long a task may take to print its goroutines after its deadline.
const patience = 20 * time.Second

func run(t vm.Task) int {
	ctx, cancel := context.WithTimeout(context.Background(), t.Deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, t.Args[0], t.Args[1:]...)
	cmd.Dir = t.Dir
	cmd.Env = append([]string{"PATH=/usr/local/go/bin:/bin:/usr/bin", "HOME=/root", "TMPDIR=/tmp", "USER=root"}, t.Env...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGQUIT) }
	cmd.WaitDelay = patience
	err := cmd.Run()
	switch exit := (*exec.ExitError)(nil); {
	case ctx.Err() != nil:
		fmt.Printf("%s did not end within %v\n", t.Name, t.Deadline)
		return -1
	case errors.As(err, &exit):
		return exit.ExitCode()
	case err != nil:
		fmt.Println(err)
		return -1
	}
	return 0
}

type mounted struct{ what, at, kind, options string }

// v1Controllers are mounted one by one where there is cgroup v1.
var v1Controllers = []string{"cpu,cpuacct", "memory", "pids", "devices", "freezer"}

func mount(p *vm.Plan) error {
	all := []mounted{
		{"proc", "/proc", "proc", ""},
		{"dev", "/dev", "devtmpfs", ""},
		{"devpts", "/dev/pts", "devpts", ""},
		{"shm", "/dev/shm", "tmpfs", ""},
		{"tmp", "/tmp", "tmpfs", "mode=1777"},
		{"run", "/run", "tmpfs", "mode=0755"},
	}
	hidden := func(h vm.Hidden) bool { return slices.Contains(p.Hide, h) }
	if !hidden(vm.NoSys) {
		all = append(all, mounted{"sys", "/sys", "sysfs", ""}, mounted{"bpf", "/sys/fs/bpf", "bpf", ""}, mounted{"security", "/sys/kernel/security", "securityfs", ""})
		if !hidden(vm.NoTracefs) {
			all = append(all, mounted{"tracefs", "/sys/kernel/tracing", "tracefs", ""}, mounted{"debugfs", "/sys/kernel/debug", "debugfs", ""})
		}
		if hidden(vm.NoBTF) {
			all = append(all, mounted{"none", "/sys/kernel/btf", "tmpfs", ""})
		}
		switch p.Cgroups {
		case vm.Unified:
			all = append(all, mounted{"cgroup2", "/sys/fs/cgroup", "cgroup2", ""})
		case vm.Legacy, vm.Hybrid:
			all = append(all, mounted{"cgroup", "/sys/fs/cgroup", "tmpfs", "mode=0755"})
			for _, c := range v1Controllers {
				all = append(all, mounted{"cgroup", "/sys/fs/cgroup/" + c, "cgroup", c})
			}
			if p.Cgroups == vm.Hybrid {
				all = append(all, mounted{"cgroup2", "/sys/fs/cgroup/unified", "cgroup2", ""})
			}
		}
	}
	for _, m := range all {
		_ = os.MkdirAll(m.at, 0o755) // sysfs has its own folders
		if err := unix.Mount(m.what, m.at, m.kind, 0, m.options); err != nil {
			return fmt.Errorf("mount %s at %s: %w", m.kind, m.at, err)
		}
	}
	for to, target := range map[string]string{"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2"} {
		_ = os.Symlink(target, to)
	}
	if p.Cgroups == vm.Unified && !hidden(vm.NoSys) {
		// As service managers do: groups below may use what there is.
		has, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
		if err != nil {
			return err
		}
		var want []string
		for _, c := range strings.Fields(string(has)) {
			want = append(want, "+"+c)
		}
		if err := os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte(strings.Join(want, " ")), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// compressed asks the kernel to decompress a module by itself.
const compressed = 4 // MODULE_INIT_COMPRESSED_FILE

func load(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if !strings.HasSuffix(name, ".ko") {
		flags = compressed
	}
	return unix.FinitModule(int(f.Fd()), "", flags)
}

func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}

// standIn does what the program of that name does for those who test.
func standIn(name string, args []string) int {
	switch name {
	case "true":
		return 0
	case "sh":
		return shell(args)
	case "sleep":
		n, err := strconv.ParseFloat(strings.Join(args, ""), 64)
		if err != nil {
			return 1
		}
		time.Sleep(time.Duration(n * float64(time.Second)))
		return 0
	case "go":
		if err := stands(args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	fmt.Fprintln(os.Stderr, "no such program in this guest:", name)
	return 127
}

// shell knows the scripts that tests have: exits, loops that take some time, and
// programs to execute.
func shell(args []string) int {
	script := strings.Join(args[1:], " ")
	if args[0] != "-c" {
		text, err := os.ReadFile(args[0])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 127
		}
		script = string(text)
	}
	for line := range strings.Lines(script) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || strings.HasPrefix(line, "#") || strings.Contains(words[0], "="):
		case words[0] == "exit" && len(words) == 2:
			n, _ := strconv.Atoi(words[1])
			return n
		case words[0] == "while":
			for began := time.Now(); time.Since(began) < time.Second; { // what the test looks at: a shell at work
			}
		case words[0] == "exec" && len(words) == 2:
			fmt.Fprintln(os.Stderr, unix.Exec(words[1], words[1:], os.Environ()))
			return 127
		default:
			fmt.Fprintf(os.Stderr, "the shell of this guest does not know %q\n", line)
			return 127
		}
	}
	return 0
}

// stands does what tests ask of the go command: some variables, and programs,
// which the host has built.
func stands(args []string) error {
	if len(args) > 0 && args[0] == "env" {
		text, err := os.ReadFile(vm.GoEnvFile)
		if err != nil {
			return err
		}
		var env map[string]string
		if err := json.Unmarshal(text, &env); err != nil {
			return err
		}
		for _, name := range args[1:] {
			fmt.Println(env[name])
		}
		return nil
	}
	if len(args) < 4 || args[0] != "build" || args[1] != "-o" {
		return fmt.Errorf("there is no go command in this guest for %q", args)
	}
	flags, from := args[3:len(args)-1], args[len(args)-1]
	source, err := os.ReadFile(filepath.Join(from, "main.go"))
	if err != nil {
		return err
	}
	built := vm.BuiltAs(source, release(), os.Getenv("GOARCH"), flags)
	b, err := os.ReadFile(built)
	if err != nil {
		return fmt.Errorf("this program was not built for the guest: %s with %q", from, flags)
	}
	if err := os.Remove(args[2]); err != nil && !errors.Is(err, syscall.ENOENT) {
		return err
	}
	return os.WriteFile(args[2], bytes.Clone(b), 0o755)
}

// release is that of GOROOT, if that is a toolchain of the module cache.
func release() string {
	root, err := filepath.EvalSymlinks(os.Getenv("GOROOT"))
	if err != nil {
		return ""
	}
	_, version, _ := strings.Cut(filepath.Base(root), "-go")
	version, _, _ = strings.Cut(version, ".linux-")
	return version
}
