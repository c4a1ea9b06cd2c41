#!/bin/bash
# The refspecs are those of actions/checkout: one commit, or with depth 0 all branches and tags.
set -euo pipefail
folder="$GITHUB_WORKSPACE/$FOLDER"
mkdir -p "$folder"
cd "$folder"
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0
git init --quiet --initial-branch=main .
git remote add origin "$GITHUB_SERVER_URL/$GITHUB_REPOSITORY"
login="AUTHORIZATION: basic $(printf 'x-access-token:%s' "$TOKEN" | base64 --wrap=0)"
options=(-c "url.$GIT_SERVER/.insteadOf=$GITHUB_SERVER_URL/" -c "http.extraheader=$login" -c protocol.version=2)
fetch=(fetch --quiet --no-tags --prune --no-recurse-submodules)
[ -z "$FILTER" ] || fetch+=("--filter=$FILTER")
if [ -n "$REF" ]; then
  case "$REF" in
    refs/*) full="$REF" ;;
    *) full=$(git "${options[@]}" ls-remote origin "refs/heads/$REF" "refs/tags/$REF" | awk 'NR == 1 { print $2 }') ;;
  esac
  if [ -n "$full" ]; then
    commit=$(git "${options[@]}" ls-remote origin "$full" "$full^{}" | awk 'END { print $1 }')
  else
    commit="$REF"
  fi
else
  full="$GITHUB_REF" commit="$GITHUB_SHA"
fi
if [ "$DEPTH" = 0 ]; then
  specs=("+refs/heads/*:refs/remotes/origin/*" "+refs/tags/*:refs/tags/*")
  case "$full" in refs/pull/*) specs+=("+$commit:refs/remotes/${full#refs/}") ;; esac
else
  fetch+=("--depth=$DEPTH")
  case "$full" in
    refs/heads/*) specs=("+$commit:refs/remotes/origin/${full#refs/heads/}") ;;
    refs/tags/*) specs=("+$full:$full") ;;
    refs/pull/*) specs=("+$commit:refs/remotes/${full#refs/}") ;;
    *) specs=("$commit") ;;
  esac
fi
git "${options[@]}" "${fetch[@]}" origin "${specs[@]}"
case "$full" in
  refs/heads/*) git "${options[@]}" checkout --quiet --force -B "${full#refs/heads/}" "$commit" ;;
  *) git "${options[@]}" checkout --quiet --force --detach "$commit" ;;
esac
if [ "$PERSIST" = true ]; then
  git config "http.$GITHUB_SERVER_URL/.extraheader" "$login"
fi
echo "checked out $(git rev-parse HEAD)"
