"""The web page: speak or type a sentence, see what it draws. `page` alone knows gradio."""
