//go:build linux

package dns

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/kerneltest"
)

// The test binary is also the program that is watched: it asks the server for
// names, says so, and stays until its input ends.
const askAs = "GUANLAN_DNS_ASK" // "server name …"

func TestMain(m *testing.M) {
	if what := os.Getenv(askAs); what != "" {
		f := strings.Fields(what)
		r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, f[0])
		}}
		for _, name := range f[1:] {
			found, err := r.LookupHost(context.Background(), name)
			fmt.Println(name, found, err)
		}
		fmt.Println("done")
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func start(t testing.TB, o Options) *Feature {
	t.Helper()
	f := New(o)
	kerneltest.Start(t, nil, f)
	return f
}

// space is a network namespace with programs and name servers in it.
type space struct{ *kerneltest.Namespace }

func newSpace(t testing.TB) space {
	t.Helper()
	return space{kerneltest.NewNamespace(t)}
}

// ask runs a program that asks the server for names. It lives as long as the test.
func (s space) ask(t testing.TB, server string, names ...string) kernel.Process {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), askAs+"="+server+" "+strings.Join(names, " "))
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	s.Do(t, cmd.Start) // in the thread's namespace
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "done" {
			p, ok := kernel.NewHost(kernel.Options{}).Process(cmd.Process.Pid)
			if !ok {
				t.Fatal("the program is gone")
			}
			return p
		}
		t.Log(lines.Text())
	}
	t.Fatal("the program ended")
	return kernel.Process{}
}

// serve answers what comes to an address by what f makes of it; nil is no answer.
func (s space) serve(t testing.TB, addr string, f func(dnsmessage.Message) []byte) {
	t.Helper()
	var c net.PacketConn
	s.Do(t, func() (err error) { c, err = net.ListenPacket("udp", addr); return err })
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) == nil {
				if b := f(m); b != nil {
					_, _ = c.WriteTo(b, from)
				}
			}
		}
	}()
	t.Cleanup(func() { _ = c.Close(); <-done })
}

// zone answers from a table of names and addresses; an alias has no dots or colons of addresses.
func zone(t testing.TB, table map[string][]string) func(dnsmessage.Message) []byte {
	return func(q dnsmessage.Message) []byte {
		m := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true, Authoritative: true}, Questions: q.Questions}
		at := q.Questions[0].Name.String()
		for range maxChain {
			next := ""
			for _, v := range table[at] {
				if addr, err := netip.ParseAddr(v); err != nil {
					m.Answers, next = append(m.Answers, cname(at, 60, v)), v
				} else if addr.Is4() == (q.Questions[0].Type == dnsmessage.TypeA) {
					m.Answers = append(m.Answers, a(at, 60, v))
				}
			}
			if at = next; at == "" {
				break
			}
		}
		b, err := m.Pack()
		if err != nil {
			t.Error(err)
		}
		return b
	}
}

// Programs with Go's resolver, at a stub on a loopback address and over IPv6, in
// two namespaces that call one address by different names.
func TestNamesOfRealAnswers(t *testing.T) {
	f := start(t, Options{})
	s, other := newSpace(t), newSpace(t)
	table := map[string][]string{
		"orders-db.internal.": {"pg.cluster.internal."}, "pg.cluster.internal.": {"10.2.3.4", "fd00::4"},
		"cache.internal.": {"10.2.3.5"}, "reports-db.internal.": {"10.2.3.4"},
	}
	s.serve(t, "127.0.0.53:53", zone(t, table))
	s.serve(t, "[::1]:53", zone(t, table))
	other.serve(t, "127.0.0.53:53", zone(t, map[string][]string{"elsewhere.internal.": {"10.2.3.4"}}))

	order := s.ask(t, "127.0.0.53:53", "orders-db.internal.", "cache.internal.")
	far := other.ask(t, "127.0.0.53:53", "elsewhere.internal.")
	want := func(p kernel.Process, netns uint32, addr, name string) {
		t.Helper()
		kerneltest.Until(t, name+" for "+addr, func() bool { return f.Called(p, netns, netip.MustParseAddr(addr)) == name })
	}
	want(order, s.ID, "10.2.3.4", "orders-db.internal")
	want(order, s.ID, "fd00::4", "orders-db.internal")
	want(order, s.ID, "10.2.3.5", "cache.internal")
	want(far, other.ID, "10.2.3.4", "elsewhere.internal")

	report := s.ask(t, "[::1]:53", "reports-db.internal.")
	want(report, s.ID, "10.2.3.4", "reports-db.internal")
	want(order, s.ID, "10.2.3.4", "orders-db.internal")                   // still what it asked for itself
	want(kernel.Process{PID: 1}, s.ID, "10.2.3.4", "reports-db.internal") // the namespace's last
	want(kernel.Process{PID: 1}, s.ID, "fd00::4", "orders-db.internal")   // which other processes asked for
	want(kernel.Process{PID: 1}, other.ID, "10.2.3.5", "")                // nobody there did
	if st := f.Stats(); st.Events < 5 || st.Dropped != 0 {
		t.Errorf("%d answers, %d dropped", st.Events, st.Dropped)
	}
}

// The resolver of the C library.
func TestNamesOfOtherResolvers(t *testing.T) {
	getent, err := exec.LookPath("getent")
	if err != nil {
		t.Skip("getent is not installed")
	}
	f := start(t, Options{})
	s := newSpace(t)
	s.serve(t, "127.0.0.11:53", zone(t, map[string][]string{"pay.internal.": {"10.2.9.9"}}))
	conf := t.TempDir() + "/resolv.conf"
	if err := os.WriteFile(conf, []byte("nameserver 127.0.0.11\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(getent, "-s", "hosts:dns", "hosts", "pay.internal")
	s.Do(t, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil { // and the thread's own mounts
			return err
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		if err := unix.Mount(conf, "/etc/resolv.conf", "", unix.MS_BIND, ""); err != nil {
			return err
		}
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		return err
	})
	kerneltest.Until(t, "pay.internal", func() bool {
		return f.Called(kernel.Process{PID: 1}, s.ID, netip.MustParseAddr("10.2.9.9")) == "pay.internal"
	})
}

// What a socket gets that did not ask, and what is no answer, names nothing.
func TestUnaskedAndBrokenAnswersNameNothing(t *testing.T) {
	f := start(t, Options{})
	s := newSpace(t)
	good := netip.MustParseAddr("10.2.3.4")
	var step atomic.Int32
	s.serve(t, "127.0.0.53:53", func(q dnsmessage.Message) []byte {
		name := q.Questions[0].Name.String()
		m := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true}, Questions: q.Questions}
		switch step.Add(1) {
		case 1: // truncated
			m.Truncated, m.Answers = true, []dnsmessage.Resource{a(name, 60, "10.2.66.1")}
		case 2: // of another name
			m.Answers = []dnsmessage.Resource{a("bank.internal.", 60, "10.2.66.2")}
		case 3: // longer than any
			m.Answers = []dnsmessage.Resource{a(name, 60, "10.2.66.3")}
			for len(m.Answers) < 400 {
				m.Answers = append(m.Answers, a(name, 60, "10.2.66.3"))
			}
		case 4:
			return append(pack(t, m)[:12], strings.Repeat("\xff", 300)...)
		default: // as long as it may be: two classes of records
			m.Answers = []dnsmessage.Resource{a(name, 60, good.String())}
			for len(m.Answers) < 200 {
				m.Answers = append(m.Answers, a(name, 60, good.String()))
			}
		}
		return pack(t, m)
	})
	before := f.Stats()
	s.Do(t, func() error {
		// Asks by hand, because a resolver would turn to TCP, or wait.
		c, err := net.Dial("udp", "127.0.0.53:53")
		if err != nil {
			return err
		}
		defer c.Close()
		buf := make([]byte, 1<<16)
		for i := range 5 {
			q := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(fmt.Sprintf("db%d.internal.", i+1)), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
			if _, err := c.Write(pack(t, q)); err != nil {
				return err
			}
			_ = c.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := c.Read(buf); err != nil {
				return err
			}
		}
		// From port 53, to a socket that never asked.
		victim, err1 := net.ListenPacket("udp", "127.0.0.1:0")
		forger, err2 := net.ListenPacket("udp", "127.0.0.66:53")
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		defer victim.Close()
		defer forger.Close()
		forged := pack(t, reply(t, "forged.internal.", dnsmessage.TypeA, a("forged.internal.", 60, "10.2.66.9")))
		if _, err := forger.WriteTo(forged, victim.LocalAddr()); err != nil {
			return err
		}
		_ = victim.SetReadDeadline(time.Now().Add(time.Minute))
		_, _, err = victim.ReadFrom(buf)
		return err
	})
	self := kernel.Process{PID: os.Getpid()}
	kerneltest.Until(t, "the good one", func() bool { return f.Called(self, s.ID, good) == "db5.internal" })
	for i := range 10 {
		addr := netip.AddrFrom4([4]byte{10, 2, 66, byte(i)})
		if got := f.Called(self, s.ID, addr); got != "" {
			t.Errorf("%v is called %q", addr, got)
		}
	}
	if after := f.Stats(); after.Events-before.Events != 1 || after.Dropped-before.Dropped != 1 {
		t.Errorf("%d answers and %d dropped, want the good one, and the one that was too long", after.Events-before.Events, after.Dropped-before.Dropped)
	}
}

// More answers than the limit are counted, not kept, and names learned before stay.
func TestFloodIsBoundedAndCounted(t *testing.T) {
	const limit, flood = 50, 20_000
	f := start(t, Options{AnswersPerSecond: limit})
	s := newSpace(t)
	s.serve(t, "127.0.0.53:53", zone(t, map[string][]string{"db.internal.": {"10.2.3.4"}}))
	p := s.ask(t, "127.0.0.53:53", "db.internal.")
	kerneltest.Until(t, "db.internal", func() bool { return f.Called(p, s.ID, netip.MustParseAddr("10.2.3.4")) != "" })
	began := time.Now()
	s.Do(t, func() error {
		server, err1 := net.ListenPacket("udp", "127.0.0.66:53")
		client, err2 := net.ListenPacket("udp", "127.0.0.1:0")
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		defer server.Close()
		defer client.Close()
		if _, err := client.WriteTo([]byte("?"), server.LocalAddr()); err != nil { // asks
			return err
		}
		buf := make([]byte, 512)
		for i := range flood {
			name := fmt.Sprintf("%d.example.", i)
			b := pack(t, reply(t, name, dnsmessage.TypeA, a(name, 1, netip.AddrFrom4([4]byte{198, byte(i >> 16), byte(i >> 8), byte(i)}).String())))
			if _, err := server.WriteTo(b, client.LocalAddr()); err != nil {
				return err
			}
			if _, _, err := client.ReadFrom(buf); err != nil {
				return err
			}
		}
		return nil
	})
	most := uint64(limit*runtime.NumCPU()) * uint64(time.Since(began)/time.Second+2)
	kerneltest.Until(t, "the flood's end", func() bool { st := f.Stats(); return st.Events+st.Dropped >= flood })
	st := f.Stats()
	if st.Events > most || st.Dropped < flood-most {
		t.Errorf("%d answers and %d dropped, want at most %d", st.Events, st.Dropped, most)
	}
	if got := f.Called(p, s.ID, netip.MustParseAddr("10.2.3.4")); got != "db.internal" {
		t.Errorf("after the flood: %q", got)
	}
	t.Logf("%d answers, %d dropped in %v", st.Events, st.Dropped, time.Since(began).Round(time.Millisecond))
}

// BenchmarkPacket is the cost of a UDP packet over loopback, sent and received,
// without the feature and with it, and what the program itself takes.
func BenchmarkPacket(b *testing.B) {
	for _, size := range []int{64} {
		for _, on := range []bool{false, true} {
			b.Run(fmt.Sprintf("attached=%t", on), func(b *testing.B) {
				var f *Feature
				if on {
					f = start(b, Options{})
					c, err := kernel.NewHost(kernel.Options{}).KeepStatistics()
					if os.Getenv("STATISTICS") == "" && err == nil {
						_ = c.Close()
					} else if err == nil {
						defer c.Close()
					}
				}
				pair(b, size)
				if on {
					for _, p := range f.Stats().Programs {
						if p.Runs > uint64(b.N)/2 {
							b.ReportMetric(float64(p.Time.Nanoseconds())/float64(p.Runs), p.Name+"-ns/run")
						}
					}
				}
			})
		}
	}
}

func pair(b *testing.B, size int) {
	fds := [2]int{}
	var at [2]unix.Sockaddr
	for i := range fds {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			b.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			b.Fatal(err)
		}
		fds[i] = fd
		at[i], _ = unix.Getsockname(fd)
	}
	if err := errors.Join(unix.Connect(fds[0], at[1]), unix.Connect(fds[1], at[0])); err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, size)
	b.ResetTimer()
	for range b.N {
		if _, err := unix.Write(fds[0], buf); err != nil {
			b.Fatal(err)
		}
		if _, err := unix.Read(fds[1], buf); err != nil {
			b.Fatal(err)
		}
	}
}

func TestRecordsAreWhatTheProgramWrites(t *testing.T) {
	if got := unsafe.Sizeof(dnsHead{}); got != 16 {
		t.Errorf("%d bytes before the message, want 16", got)
	}
}
