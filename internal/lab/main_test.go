package lab

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
)

// TestMain lets the test binary stand in for the program that runs the application's parts.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "lab-app" {
		if err := appMain(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func appMain(part string, args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	o := AppOptions{Part: part}
	flags := flag.NewFlagSet(part, flag.ContinueOnError)
	flags.StringVar(&o.Name, "name", "", "")
	flags.StringVar(&o.RunDir, "run-dir", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return RunApp(ctx, o)
}
