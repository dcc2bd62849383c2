# Reads what "go test -v" prints for many packages: counts, and lets through what one wants to see. go test prints the
# packages one after the other, so everything up to a package's last line belongs to it. The file named by the variable
# skips lists the tests that may be skipped; any other that is counts as failed.

BEGIN {
  while ((getline entry < skips) > 0) {
    split(entry, word)
    if (entry !~ /^(#|$)/) allowed[word[1]] = 1
  }
}

/^ *--- PASS: / { passed++; here++ }
/^ *--- FAIL: / { failed++; failures++; names = names "  failed: " $3 "\n" }
/^ *--- SKIP: / {
  whole = $3
  sub(/\/.*/, "", whole)
  if ($3 in allowed || whole in allowed) {
    skipped++
    print "  skipped: " $3 " (" reason ")"
  } else {
    failed++
    failures++
    names = names "  skipped, and may not be (see " skips "): " $3 " (" reason ")\n"
  }
}
/^ +[A-Za-z0-9_]+\.go:[0-9]+: / {
  reason = $0
  sub(/^ +/, "", reason)
}

/^ok  / {
  printf "%s (%d passed)\n", $0, here
  forget()
  next
}
/^FAIL\t/ {
  if (!failures) failed++ # it did not compile, or ended before it could say which test failed
  tell()
  print
  forget()
  next
}
/^\?   / || /\[no test files\]$/ { forget(); next }
/^=== / { next }
{ line[lines++] = $0 } # one by one: some tests print much

END {
  tell()
  if (!passed && !failed) failed = 1 # go itself had something to say, and no test ran
  printf "%s", names
  if (skipped) printf "%d skipped\n", skipped
  count = sprintf("%d passed, %d failed", passed, failed)
  print count
  if (summary) print count >summary
  exit failed > 0
}

function tell(i) { for (i = 0; i < lines; i++) print line[i] }
function forget() { lines = here = failures = 0 }
