# Reads what "go test -v" prints for many packages: counts, and lets through what one wants to see. go test prints the
# packages one after the other, so everything up to a package's last line belongs to it.

/^ *--- PASS: / { passed++; here++ }
/^ *--- FAIL: / { failed++; names = names "  failed: " $3 "\n" }
/^ *--- SKIP: / { skipped++; print "  skipped: " $3 }

/^ok  / {
  printf "%s (%d passed)\n", $0, here
  forget()
  next
}
/^FAIL\t/ {
  if (!failures()) failed++ # it did not compile, or ended before it could say which test failed
  printf "%s", output
  print
  forget()
  next
}
/^\?   / || /\[no test files\]$/ { forget(); next }
/^=== / { next }
{ output = output $0 "\n" }

END {
  printf "%s", output
  if (!passed && !failed) failed = 1 # go itself had something to say, and no test ran
  printf "%s", names
  if (skipped) printf "%d skipped\n", skipped
  line = sprintf("%d passed, %d failed", passed, failed)
  print line
  if (summary) print line >summary
  exit failed > 0
}

function failures() { return index(output, "--- FAIL: ") > 0 }
function forget() { output = ""; here = 0 }
